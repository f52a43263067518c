mod bounds;
mod manifest;
mod source;
mod tidy;

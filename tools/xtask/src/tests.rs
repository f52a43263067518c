mod manifest;
mod source;
mod tidy;

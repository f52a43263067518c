mod bounds;
mod drill;
mod manifest;
mod source;
mod tidy;

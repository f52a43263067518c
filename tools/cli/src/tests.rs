mod doctor;
mod ops;
mod ports;
mod settings;
mod tail;

mod doctor;
mod ports;
mod settings;
mod tail;

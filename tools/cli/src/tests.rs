mod doctor;
mod settings;
mod tail;

"""The learning rate: rules follow the size, schedules follow the spent budget."""

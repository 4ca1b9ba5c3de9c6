"""The learning rate: rules for when the size changes, schedules for as the budget is spent."""

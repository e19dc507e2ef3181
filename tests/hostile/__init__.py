"""Floods: what many clients, or one, can make a worker hold, and whether others are served."""

"""What a training step and everything around it cost on one device."""

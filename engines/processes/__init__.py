"""Engine processes: started, watched, restarted, and never left behind."""

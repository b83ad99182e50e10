"""A monitor of what is written about topics, which raises an alert when a topic turns negative."""

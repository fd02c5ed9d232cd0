"""Home Assistant's protocol in front of the same speech: events in, sound as events out."""

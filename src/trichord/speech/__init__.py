"""What is said: transcripts from subtitles and from speech recognisers."""

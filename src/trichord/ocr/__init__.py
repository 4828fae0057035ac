"""Text in pictures and on the screen: optical character recognition (OCR)."""

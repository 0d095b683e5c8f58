"""Everything that knows the wire, and the seam that every wire fits. No socket, clock, file or randomness is touched
here, and nothing outside of this folder is imported.
"""

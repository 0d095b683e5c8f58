"""What only Windows has, by ctypes: consoles and access lists. Elsewhere nothing here can be imported.

How jobs are run there is in server/.
"""

"""What stands before every call: who is it, may they, and is there room for it. One file each."""

"""The findings of the doctor, a file a subject."""

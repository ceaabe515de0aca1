"""The checks of the doctor, one file for each subject."""

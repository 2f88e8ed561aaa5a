"""A module of the user's that has the name of one of ours."""

WHOSE = "the user's entity"

"""The contract between the processes of a fleet. Imports nothing of the project.

What two processes must agree on belongs here: messages, their frames, what an entity is told, exit
codes, the files of the run directory. How either side behaves does not.
"""

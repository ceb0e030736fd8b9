"""What an operator asks when something is wrong, or before anything is: is this set up as it has to be?"""

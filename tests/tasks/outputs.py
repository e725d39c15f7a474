"""Outputs of models, made by hand."""


class Outputs:
    def __init__(self, **named):
        self.__dict__.update(named)

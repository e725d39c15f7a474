"""What a network consists of."""


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

"""Commands that use a model: `segment`, `measure`, `evaluate`."""

COMMANDS = ()

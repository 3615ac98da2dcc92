"""Super Mario Bros as a game: emulators, RAM, stages, rules and reward. Knows nothing of learning."""

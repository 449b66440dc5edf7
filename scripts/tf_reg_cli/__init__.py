"""The command `tf-reg`, and what is known before Keras is imported: flags, configuration, error sentences."""

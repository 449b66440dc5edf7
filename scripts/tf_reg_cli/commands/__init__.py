"""The subcommands of `tf-reg`, one a file. Each imports TensorFlow when it runs, not before."""

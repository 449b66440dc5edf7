"""Choose the strength of a penalty: how much is too much, a path of strengths, cross-validation, the smallest model."""

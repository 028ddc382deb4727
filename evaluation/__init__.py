"""How good the weights are: labelled cases, scores, intervals, reports. Start at ``evaluate``."""

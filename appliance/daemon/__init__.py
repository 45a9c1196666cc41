"""The long-running side: one queue, one decider, tasks that only report."""

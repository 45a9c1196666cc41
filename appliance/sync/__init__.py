"""The route of a change: compose, plan, stage, check, commit, activate, prove."""

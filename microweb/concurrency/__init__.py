"""Threads, tasks, and facts about functions of the application. Nothing here knows HTTP."""

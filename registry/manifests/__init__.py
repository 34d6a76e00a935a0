"""GitOps: a workspace's artifacts as YAML files in a repository, in and out without loss.

`document`, `source`, `files` and `changes` are pure but for files and git: the `placet` command uses them, too.
"""

# One Snakemake at a time in this folder. The kernel frees this lock when a process dies, however it dies, so that nothing
# is ever to be unlocked by hand (Snakemake's own lock is off in profiles/).
import fcntl


onstart:
    global only_one
    only_one = open(".snakemake/alone.lock", "a")
    try:
        fcntl.flock(only_one, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkflowError(
            "another snakemake works in this folder: wait for it or stop it, then start this again"
        )

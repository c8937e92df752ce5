/* A disk whose syncs do not return while /run/hung-fsync is there: loaded in front of the C library. */
#include <sys/syscall.h>
#include <unistd.h>

static void wait_for_disk(void)
{
    while (access("/run/hung-fsync", F_OK) == 0)
        usleep(100000);
}

int fsync(int fd)
{
    wait_for_disk();
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    wait_for_disk();
    return (int)syscall(SYS_fdatasync, fd);
}

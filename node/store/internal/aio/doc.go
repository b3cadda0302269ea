// Package aio syncs a file's data without a thread that waits for it: the kernel does the sync and writes to an eventfd, which the
// runtime's poller watches as it watches sockets (io_submit(2), IOCB_CMD_FDSYNC; Linux 4.18 and later).
//
// A blocking fdatasync(2) is a system call like any other to the runtime: its processor (a P of GOMAXPROCS) stays with it, and while a
// processor is in a system call, the runtime's monitor thread (sysmon) looks at it every 20 microseconds. A node syncs hundreds of times
// a second, a third to one millisecond each, so that a machine with several nodes spent more on these looks than on the syncs. A
// goroutine that waits for the poller holds no processor, and a process in which all wait is asleep.
package aio

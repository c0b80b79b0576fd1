// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Every operation on a non-blocking descriptor goes by RawSyscall: entering the
// runtime's notion of a system call would wake its monitor at each request.

type event struct {
	events uint32
	fd     int32
	gen    uint32
}

const (
	epollIn    = unix.EPOLLIN
	epollOut   = unix.EPOLLOUT
	epollHup   = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	edgeMask   = epollIn | epollOut | unix.EPOLLRDHUP | unix.EPOLLET
	listenMask = epollIn
)

func epollAdd(ep, fd int, mask, gen uint32) error {
	ev := event{mask, int32(fd), gen}
	_, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(ep), syscall.EPOLL_CTL_ADD, uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	return errnoErr(e)
}

func epollDel(ep, fd int) {
	var ev event // Kernels before 2.6.9 want one; the pointer costs nothing.
	syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(ep), syscall.EPOLL_CTL_DEL, uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
}

// rawWait waits without telling the runtime: cheapest, but the thread keeps its
// processor, so there must be a spare one and the wait must be interruptible.
func rawWait(ep int, evs []event, ms int) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(&evs[0])), uintptr(len(evs)), uintptr(ms), 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}

// wait tells the runtime, which gives the processor to others meanwhile.
func wait(ep int, evs []event, ms int) (int, syscall.Errno) {
	n, _, e := syscall.Syscall6(syscall.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(&evs[0])), uintptr(len(evs)), uintptr(ms), 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}

func recv(fd int, p []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0, 0, 0)
	return int(n), e
}

func peek(fd int, p []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_PEEK, 0, 0)
	return int(n), e
}

func send(fd int, p []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
	return int(n), e
}

// sendMore sends what is to leave with what follows it: the end of the stream.
func sendMore(fd int, p []byte) (int, syscall.Errno) {
	const flags = unix.MSG_NOSIGNAL | unix.MSG_MORE
	n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), flags, 0, 0)
	return int(n), e
}

func send2(fd int, a, b []byte) (int, syscall.Errno) {
	iov := [2]unix.Iovec{{Base: &a[0], Len: uint64(len(a))}, {Base: &b[0], Len: uint64(len(b))}}
	msg := unix.Msghdr{Iov: &iov[0], Iovlen: 2}
	n, _, e := syscall.RawSyscall(syscall.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_NOSIGNAL)
	return int(n), e
}

func splice(from, to, n int) (int, syscall.Errno) {
	const flags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK
	k, _, e := syscall.RawSyscall6(syscall.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), flags)
	return int(k), e
}

func closeFD(fd int) { syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0) }

func errnoErr(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// epoch anchors the monotonic clock: time.Since reads no wall clock.
var epoch = time.Now()

// Nano returns monotonic nanoseconds since the process began.
func Nano() int64 { return int64(time.Since(epoch)) }

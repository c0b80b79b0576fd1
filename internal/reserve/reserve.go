// SPDX-License-Identifier: Apache-2.0

// Package reserve keeps addresses for tests: one where a server that is told where to listen will listen later, and
// one where nobody listens at all. A test that listens to find a port, closes and hopes loses it to another process
// now and then.
package reserve

import (
	"net/netip"
	"os"
	"syscall"
	"testing"
)

// TCP keeps a port of 127.0.0.1 until the test ends and returns its address, "127.0.0.1:1234". The system gives the
// port to nobody else who asks for any port, nor to a client. A server that names it may listen there, and again after
// it has closed, if it sets SO_REUSEADDR, as Go, Weir, HAProxy and Redis do. As long as none does, clients are refused.
func TCP(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(os.NewSyscallError("socket", err))
	}
	t.Cleanup(func() { _ = syscall.Close(fd) }) // Nothing was sent.
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(os.NewSyscallError("bind", err))
	}
	// Now that the port is ours alone it may be shared, with who asks for that one: a bound socket that does not
	// listen is in nobody's way.
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		t.Fatal(os.NewSyscallError("setsockopt", err))
	}
	a, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(os.NewSyscallError("getsockname", err))
	}
	in := a.(*syscall.SockaddrInet4) // As it was bound.
	return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port)).String()
}

// SPDX-License-Identifier: Apache-2.0

package reserve

import (
	"errors"
	"net"
	"strconv"
	"syscall"
	"testing"
)

// TestTCP: the address refuses clients until somebody listens there, and again when nobody does any more; nobody is
// given its port unasked.
func TestTCP(t *testing.T) {
	addr := TCP(t)
	for range 3 {
		if c, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("dialled %v, %v", c, err)
		}
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		peer, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = peer.Close() // First, so that it is the server's side that lingers.
		_ = ln.Close()
		_ = c.Close()
	}
	if TCP(t) == addr {
		t.Error("a port was given out twice")
	}
}

// TestNotGivenOut: neither a server that asks for any port nor a client is given the one that is kept.
func TestNotGivenOut(t *testing.T) {
	_, text, _ := net.SplitHostPort(TCP(t))
	kept, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	// A socket that may have no other port but that one.
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(fd) }()
	if err := syscall.SetsockoptInt(fd, syscall.SOL_IP, ipLocalPortRange, kept<<16|kept); err != nil {
		t.Skip("the kernel, older than 6.3, knows no range of ports for one socket: ", err)
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a server that asks for any port: %v", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	to := ln.Addr().(*net.TCPAddr)
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: to.Port}); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("a client: %v", err)
	}
}

// ipLocalPortRange is IP_LOCAL_PORT_RANGE of linux/in.h.
const ipLocalPortRange = 51

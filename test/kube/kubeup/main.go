// SPDX-License-Identifier: Apache-2.0

// Command kubeup starts a cluster to try things in, as "make kube-up" does, and keeps it until its shell, or it itself,
// is ended. kubectl reaches it from anywhere on the machine by the kubeconfig that it prints; the addresses of pods,
// Services and Gateways are in the cluster's network, where its shell is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"weir.dev/weir/test/kube/cluster"
	"weir.dev/weir/test/kube/private"
	"weir.dev/weir/test/kube/program"
)

// Environment of the process within the namespaces.
const (
	dirVariable      = "WEIR_KUBE_DIR"      // folder that both processes see
	addressVariable  = "WEIR_KUBE_ADDRESS"  // of the apiserver, outside
	programsVariable = "WEIR_KUBE_PROGRAMS" // folder of programs by name
	crdVariable      = "WEIR_KUBE_CRDS"     // folder of the Gateway API's definitions
)

func main() {
	do := outside
	if private.Inside() {
		do = within
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, "kubeup:", err)
		os.Exit(1)
	}
}

// outside builds what is needed, and carries connections to the apiserver into the cluster's network.
func outside() error {
	channel := flag.String("channel", "experimental", "channel of the Gateway API: standard, experimental, or none")
	flag.Parse()
	if err := private.Possible(); err != nil {
		return err
	}
	root, err := program.Root()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "weir-kube")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	programs, err := link(root, dir)
	if err != nil {
		return err
	}
	crds := ""
	if *channel != "none" {
		if crds, err = program.CRDs(root, *channel); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go carry(l, "unix", filepath.Join(dir, "apiserver"))
	env := []string{dirVariable + "=" + dir, addressVariable + "=" + l.Addr().String(), programsVariable + "=" + programs, crdVariable + "=" + crds}
	status, err := private.Run(env, func(pid int) {
		// Where the link is missing, nsenter says so.
		_ = os.Symlink(fmt.Sprintf("/proc/%d/ns/net", pid), filepath.Join(dir, "net"))
	})
	if err == nil && status != 0 {
		err = fmt.Errorf("the cluster has ended with status %d", status)
	}
	return err
}

// link builds the programs and puts each under its name into one folder.
func link(root, dir string) (string, error) {
	built := filepath.Join(dir, "built")
	programs := filepath.Join(dir, "bin")
	if err := errors.Join(os.Mkdir(built, 0o755), os.Mkdir(programs, 0o755)); err != nil {
		return "", err
	}
	files, err := program.Build(context.Background(), root, built, os.Stderr,
		program.Kubeone(), program.Podinit(), program.CoreDNS(), program.EchoBasic(), program.Weir(), program.Kubectl())
	if err != nil {
		return "", err
	}
	for name, file := range files {
		if err := os.Symlink(file, filepath.Join(programs, name)); err != nil {
			return "", err
		}
	}
	return programs, nil
}

// carry joins every connection to l with one to an address, until l is closed.
func carry(l net.Listener, network, address string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer in.Close()
			out, err := net.Dial(network, address)
			if err != nil {
				return
			}
			defer out.Close()
			go func() {
				_, _ = io.Copy(out, in)
				out.Close()
			}()
			_, _ = io.Copy(in, out)
		}()
	}
}

// within runs the cluster.
func within() error {
	if err := private.Settle(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, programs := os.Getenv(dirVariable), os.Getenv(programsVariable)
	l, err := net.Listen("unix", filepath.Join(dir, "apiserver"))
	if err != nil {
		return err
	}
	defer l.Close()
	go carry(l, "tcp", "127.0.0.1:6443")
	c, err := start(ctx, programs)
	if err != nil {
		return err
	}
	defer c.Stop()
	text, err := c.KubeconfigAt("https://" + os.Getenv(addressVariable))
	if err != nil {
		return err
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, text, 0o600); err != nil {
		return err
	}
	fmt.Printf(`A cluster runs. From any terminal of this machine:

  export KUBECONFIG=%s PATH=%s:$PATH

What pods, Services and Gateways are reached by is in a network of its own, for which a command begins with

  nsenter --net=%s/net

Images are weir, echo-basic and coredns.
`, kubeconfig, programs, dir)
	if _, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS); err != nil {
		fmt.Println("It ends with this process.")
		<-ctx.Done()
		return nil
	}
	return shell(c, programs)
}

func start(ctx context.Context, programs string) (*cluster.Cluster, error) {
	files := map[string]string{}
	for _, name := range []string{"kubeone", "podinit", "coredns", "echo-basic", "weir"} {
		file, err := filepath.EvalSymlinks(filepath.Join(programs, name))
		if err != nil {
			return nil, err
		}
		files[name] = file
	}
	dir, err := os.MkdirTemp("/run", "kube")
	if err != nil {
		return nil, err
	}
	var manifest []string
	if crds := os.Getenv(crdVariable); crds != "" {
		manifest = append(manifest, crds)
	}
	return cluster.Start(ctx, cluster.Options{
		Dir: dir, Kubeone: files["kubeone"], Podinit: files["podinit"], CoreDNS: files["coredns"],
		Images: cluster.Images(files), Manifest: manifest, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
}

// shell runs the user's shell in the cluster's network.
func shell(c *cluster.Cluster, programs string) error {
	name := os.Getenv("SHELL")
	if name == "" {
		name = "/bin/sh"
	}
	fmt.Printf("This shell is in that network. The cluster ends with it.\n\n")
	cmd := exec.Command(name)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "PATH="+programs+":"+os.Getenv("PATH"))
	cmd.Env = append(cmd.Env, "PS1=(kube) "+strings.TrimSpace(os.Getenv("PS1")))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) { // How the user's last command ended is the user's.
			return err
		}
	}
	return nil
}

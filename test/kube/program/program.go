// SPDX-License-Identifier: Apache-2.0

// Package program builds what a cluster is made of and what runs in it, with the go command and from the Go module
// proxy alone. What takes long is built once for a version of it and kept in the user's cache directory.
package program

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// keptFor is how long a version of a program is kept that nobody uses.
const keptFor = 30 * 24 * time.Hour

// A Program is something that Build can build.
type Program struct {
	Name   string
	module string // folder of its module, from that of test/kube
	target string // what go build is given
	// Files of its module that, with the version of Go, say all that it is made from: while they are the same, it is
	// not built again. None for what is made from code that changes every day.
	sources []string
}

// Kubeone is etcd, kube-apiserver, controllers and kube-proxy. The first time it takes some minutes.
func Kubeone() Program {
	return Program{"kubeone", "kubeone", ".", []string{"go.mod", "go.sum", "main.go", "controllers.go"}}
}

// Kubectl is kubectl, of the version of the cluster.
func Kubectl() Program {
	return Program{"kubectl", "kubeone", "./kubectl", []string{"go.mod", "go.sum", "kubectl/main.go"}}
}

// CoreDNS is CoreDNS with the plugins that a cluster and the conformance suite ask for.
func CoreDNS() Program {
	return Program{"coredns", ".", "./coredns", []string{"go.mod", "go.sum", "coredns/main.go"}}
}

// EchoBasic is the backend of the conformance suite.
func EchoBasic() Program {
	return Program{"echo-basic", ".", "sigs.k8s.io/gateway-api/conformance/echo-basic", []string{"go.mod", "go.sum"}}
}

// Podinit turns a process into a container.
func Podinit() Program { return Program{"podinit", ".", "./podinit", nil} }

// Weir is the product.
func Weir() Program { return Program{"weir", "../..", "./cmd/weir", nil} }

// Own is a package of test/kube's module, for the tests of one package.
func Own(name, target string) Program { return Program{name, ".", target, nil} }

// Build builds programs and returns the file of each by its name. Programs that are not kept are put into scratch. What
// the go command says goes to log. Several processes may build at a time.
func Build(ctx context.Context, root, scratch string, log io.Writer, programs ...Program) (map[string]string, error) {
	files := map[string]string{}
	for _, p := range programs {
		file, err := p.build(ctx, root, scratch, log)
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", p.Name, err)
		}
		files[p.Name] = file
	}
	return files, nil
}

func (p Program) build(ctx context.Context, root, scratch string, log io.Writer) (string, error) {
	dir := filepath.Join(root, p.module)
	if p.sources == nil {
		file := filepath.Join(scratch, p.Name)
		return file, p.compile(ctx, dir, file, log)
	}
	key, err := p.key(dir)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w", err)
	}
	cache = filepath.Join(cache, "weir", "kube")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(cache, p.Name+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	file := filepath.Join(cache, p.Name+"-"+key)
	now := time.Now()
	if err := os.Chtimes(file, now, now); err == nil {
		return file, nil
	}
	fmt.Fprintf(log, "building %s, once; it will be kept in %s\n", p.Name, cache)
	if err := p.compile(ctx, dir, file+".new", log); err != nil {
		return "", err
	}
	return file, p.keep(cache, file)
}

// keep gives a new file its name, and removes those of other versions that nobody has used for long.
func (p Program) keep(cache, file string) error {
	others, err := filepath.Glob(filepath.Join(cache, p.Name+"-????????????????"))
	if err != nil {
		return err
	}
	for _, other := range others {
		if info, err := os.Stat(other); err == nil && time.Since(info.ModTime()) > keptFor {
			if err := os.Remove(other); err != nil {
				return err
			}
		}
	}
	return os.Rename(file+".new", file)
}

func (p Program) compile(ctx context.Context, dir, file string, log io.Writer) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags=grpcnotrace", "-ldflags=-s", "-o", file, p.target)
	cmd.Dir = dir
	// Static, so that it runs in a root that holds nothing else; and of one kind, so that packages are compiled once.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	cmd.Stdout, cmd.Stderr = log, log
	return cmd.Run()
}

// key names what p is made from.
func (p Program) key(dir string) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOARCH, p.target)
	for _, name := range p.sources {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintln(sum, name, len(text))
		sum.Write(text)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// lock holds a file, across processes, until the function that it returns is called.
func lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return func() { f.Close() }, nil
}

// Root returns the folder of test/kube's module, from a folder within it.
func Root() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module of test/kube: %w", err)
	}
	return string(out[:max(0, len(out)-1)]), nil
}

// CRDs returns the folder of the Gateway API's resource definitions, of the version that the module asks for. channel
// is "standard" or "experimental".
func CRDs(root, channel string) (string, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("find the module of the Gateway API: %w", err)
	}
	return filepath.Join(string(out[:max(0, len(out)-1)]), "config", "crd", channel), nil
}

// SPDX-License-Identifier: Apache-2.0

// Package kubetest gives tests a Kubernetes cluster: real, of their own, and gone with them.
//
//	func TestMain(m *testing.M) { kubetest.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		c := kubetest.Start(t, kubetest.Options{})
//		c.Apply(t, `...`)
//		c.Until(t, "the gateway to be programmed", func(ctx context.Context) error { ... })
//	}
//
// Main builds the programs, from the Go module proxy and this tree, and runs the tests in namespaces of their own, where
// they are the node: they reach the pods, the Services and the apiserver, and nothing else. What they start ends with
// them, whatever they end by. Where that is not permitted, and with -short, the tests are skipped.
package kubetest

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"weir.dev/weir/test/kube/cluster"
	"weir.dev/weir/test/kube/kubelet"
	"weir.dev/weir/test/kube/private"
	"weir.dev/weir/test/kube/program"
)

// Environment of the process within the namespaces.
const (
	programsVariable = "WEIR_TEST_KUBE_PROGRAMS" // name=file, separated by commas
	rootVariable     = "WEIR_TEST_KUBE_ROOT"     // the folder of the module
	crdVariable      = "WEIR_TEST_KUBE_CRDS"     // the folder of the Gateway API's definitions
	// KeepVariable may name a folder that gets the logs of a cluster whose test fails.
	KeepVariable = "WEIR_TEST_KUBE_LOGS"
)

// Main is the TestMain of a package that uses Start. The further programs are built, and are the images of their names.
func Main(m *testing.M, more ...program.Program) {
	os.Exit(run(m, more))
}

func run(m *testing.M, more []program.Program) int {
	if private.Inside() {
		if err := private.Settle(); err != nil {
			fmt.Fprintln(os.Stderr, "kubetest:", err)
			return 1
		}
		status := m.Run()
		if err := goleak.Find(goleak.IgnoreTopFunction("os/signal.signal_recv"), goleak.IgnoreAnyFunction("k8s.io/klog/v2.(*flushDaemon).run.func1")); err != nil && status == 0 {
			fmt.Fprintln(os.Stderr, "kubetest:", err)
			return 1
		}
		return status
	}
	flag.Parse()
	if testing.Short() || private.Possible() != nil {
		return m.Run() // Every Start skips, and says why.
	}
	status, err := enter(more)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubetest:", err)
		return 1
	}
	return status
}

// enter builds what is needed, while there is a network to build it from, and runs the tests within.
func enter(more []program.Program) (int, error) {
	root, err := program.Root()
	if err != nil {
		return 0, err
	}
	scratch, err := os.MkdirTemp("", "kubetest")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(scratch)
	all := append([]program.Program{program.Kubeone(), program.Podinit(), program.CoreDNS(), program.EchoBasic(), program.Weir()}, more...)
	files, err := program.Build(context.Background(), root, scratch, os.Stderr, all...)
	if err != nil {
		return 0, err
	}
	crds, err := program.CRDs(root, "")
	if err != nil {
		return 0, err
	}
	var list []string
	for name, file := range files {
		list = append(list, name+"="+file)
	}
	return private.Run([]string{programsVariable + "=" + strings.Join(list, ","), rootVariable + "=" + root, crdVariable + "=" + crds}, nil)
}

// Options say what a test's cluster has.
type Options struct {
	Channel  string                   // of the Gateway API: "standard", "experimental", or "" for none
	Manifest []string                 // YAML files, or folders of them, that are applied at the start
	Images   map[string]kubelet.Image // besides those that every cluster has
	Names    map[string]netip.Addr    // that pods find by DNS, besides those of Services: of cluster.Local, say
	Audit    string                   // a user whose requests Requests returns; "" is nobody
}

// A Cluster is one that runs, for one test.
type Cluster struct{ *cluster.Cluster }

// Start starts a cluster, which ends with t. Only one may run at a time.
func Start(t testing.TB, o Options) Cluster {
	t.Helper()
	if !private.Inside() {
		if testing.Short() {
			t.Skip("a cluster is not for -short")
		}
		t.Skip(private.Possible())
	}
	files := Programs()
	manifest := o.Manifest
	if o.Channel != "" {
		manifest = append([]string{filepath.Join(os.Getenv(crdVariable), o.Channel)}, manifest...)
	}
	images := cluster.Images(files)
	for name, image := range o.Images {
		images[name] = image
	}
	dir, err := os.MkdirTemp("/run", "kube") // Gone with the namespaces.
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Start(t.Context(), cluster.Options{
		Dir: dir, Kubeone: files["kubeone"], Podinit: files["podinit"], CoreDNS: files["coredns"],
		Images: images, Manifest: manifest, Names: o.Names, Audit: o.Audit, Log: slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatalf("start a cluster: %v", err)
	}
	t.Cleanup(func() {
		c.Stop()
		keep(t, c)
	})
	return Cluster{c}
}

// Programs returns the files of the programs that Main has built, by their names.
func Programs() map[string]string {
	files := map[string]string{}
	for pair := range strings.SplitSeq(os.Getenv(programsVariable), ",") {
		name, file, _ := strings.Cut(pair, "=")
		files[name] = file
	}
	return files
}

// keep copies the logs of a cluster whose test has failed to the folder that the environment names.
func keep(t testing.TB, c *cluster.Cluster) {
	to := os.Getenv(KeepVariable)
	if to == "" || !t.Failed() {
		return
	}
	if err := os.CopyFS(filepath.Join(to, strings.ReplaceAll(t.Name(), "/", "_")), os.DirFS(c.Logs())); err != nil {
		t.Logf("keep the logs: %v", err)
	}
}

// logWriter writes what a cluster says to a test's log.
type logWriter struct{ t testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

var _ io.Writer = logWriter{}

// Apply applies objects from YAML, as kubectl apply --server-side does.
func (c Cluster) Apply(t testing.TB, text string) {
	t.Helper()
	if err := c.Cluster.Apply(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

// Install applies what deploy has for a cluster: Weir's control plane, as its users install it.
func (c Cluster) Install(t testing.TB) {
	t.Helper()
	c.ApplyFiles(t, "deploy/crds/*.yaml", "deploy/rbac.yaml", "deploy/control.yaml")
}

// ApplyFiles applies files of the repository.
func (c Cluster) ApplyFiles(t testing.TB, patterns ...string) {
	t.Helper()
	for _, pattern := range patterns {
		files, err := filepath.Glob(Path(pattern))
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c.Apply(t, string(text))
		}
	}
}

// Path returns where a file of the repository is that is named from its root.
func Path(name string) string { return filepath.Join(os.Getenv(rootVariable), "../..", name) }

// Delete deletes the objects that YAML names and waits until they are gone.
func (c Cluster) Delete(t testing.TB, text string) {
	t.Helper()
	if err := c.Cluster.Delete(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

// Get returns the object that YAML names, as it is now.
func (c Cluster) Get(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	o, err := c.Cluster.Get(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// Until waits until f returns nil. f says what is still missing.
func (c Cluster) Until(t testing.TB, what string, f func(context.Context) error) {
	t.Helper()
	if err := c.Cluster.Until(t.Context(), what, f); err != nil {
		t.Fatal(err)
	}
}

// Run starts a program on the node, with KUBECONFIG in its environment, which ends with t.
func (c Cluster) Run(t testing.TB, name string, command ...string) cluster.Process {
	t.Helper()
	p, err := c.Launch(name, command...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// Running waits until a Deployment's pods are all ready, and returns one of them.
func (c Cluster) Running(t testing.TB, namespace, deployment string) string {
	t.Helper()
	name := ""
	c.Until(t, "deployment "+namespace+"/"+deployment, func(ctx context.Context) error {
		o, err := c.Cluster.Get(ctx, fmt.Sprintf("{apiVersion: apps/v1, kind: Deployment, metadata: {name: %s, namespace: %s}}", deployment, namespace))
		if err != nil {
			return err
		}
		want, _, _ := unstructured.NestedInt64(o.Object, "spec", "replicas")
		have, _, _ := unstructured.NestedInt64(o.Object, "status", "readyReplicas")
		seen, _, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
		if have != want || seen != o.GetGeneration() {
			return fmt.Errorf("%d of %d pods are ready", have, want)
		}
		labels, _, _ := unstructured.NestedStringMap(o.Object, "spec", "selector", "matchLabels")
		var selector []string
		for k, v := range labels {
			selector = append(selector, k+"="+v)
		}
		pods, err := c.Pods(ctx, namespace, strings.Join(selector, ","))
		if err != nil || len(pods) == 0 {
			return fmt.Errorf("it has no pods: %w", err)
		}
		name = pods[0].Name
		return nil
	})
	return name
}

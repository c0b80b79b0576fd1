// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// retry is how long the kubelet waits before it tries again what did not work, if nothing changes before.
const retry = 2 * time.Second

// A worker runs one pod, from its first container to its last.
type worker struct {
	k               *Kubelet
	namespace, name string
	uid             types.UID
	spec            corev1.PodSpec // as it was at first: what may change in it does not concern us
	started         time.Time
	dir             string
	units           []*unit // init containers, then the others
	tokens          map[string]token

	// What follows is written once, before there are containers.
	address     netip.Addr
	networkFile string

	changed chan struct{} // has one element: what is mounted may have changed
	dirty   chan struct{} // has one element: the status may have changed
	ending  chan struct{} // closed when the pod is to end
	halt    context.CancelFunc
	ctx     context.Context // of everything that runs for the pod

	mu       sync.Mutex
	pod      *corev1.Pod
	grace    time.Duration // how long the containers may take to end
	trouble  string        // why there are no containers yet
	hasEnded bool          // asked to
}

func newWorker(k *Kubelet, p *corev1.Pod) *worker {
	w := &worker{
		k: k, namespace: p.Namespace, name: p.Name, uid: p.UID, spec: *p.Spec.DeepCopy(), started: time.Now(), pod: p,
		dir: filepath.Join(k.Dir, string(p.UID)), tokens: map[string]token{},
		changed: make(chan struct{}, 1), dirty: make(chan struct{}, 1), ending: make(chan struct{}),
	}
	w.ctx, w.halt = context.WithCancel(context.Background())
	for i := range w.spec.InitContainers {
		w.units = append(w.units, newUnit(w, &w.spec.InitContainers[i], true))
	}
	for i := range w.spec.Containers {
		w.units = append(w.units, newUnit(w, &w.spec.Containers[i], false))
	}
	return w
}

// update gives the worker a newer version of its pod.
func (w *worker) update(p *corev1.Pod) {
	w.mu.Lock()
	w.pod = p
	w.mu.Unlock()
	w.touch()
	if p.DeletionTimestamp != nil {
		grace := time.Duration(0)
		if p.DeletionGracePeriodSeconds != nil {
			grace = time.Duration(*p.DeletionGracePeriodSeconds) * time.Second
		}
		w.terminate(grace)
	}
}

func (w *worker) current() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}

// terminate ends the pod: at once without grace.
func (w *worker) terminate(grace time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.hasEnded {
		w.hasEnded, w.grace = true, grace
		close(w.ending)
	}
	if grace == 0 {
		w.halt()
	}
}

// refresh tells that what is mounted may have changed.
func (w *worker) refresh() { poke(w.changed) }

// touch tells that the status may have changed.
func (w *worker) touch() { poke(w.dirty) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run runs the pod to its end.
func (w *worker) run() {
	defer w.halt()
	reporting, stop := context.WithCancel(context.Background())
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		w.report(reporting)
	}()
	if p := w.current().Status.Phase; p != corev1.PodSucceeded && p != corev1.PodFailed {
		w.life()
	}
	for _, u := range w.units {
		u.output.close()
	}
	w.clear()
	<-w.ending // Until then its output can be asked for.
	stop()
	<-reported
	if p := w.current(); p.DeletionTimestamp != nil {
		w.k.forget(p)
	}
}

// life sets the pod up and runs its containers, until all have ended for good.
func (w *worker) life() {
	if !w.prepare() {
		return
	}
	var all sync.WaitGroup
	defer all.Wait()
	upToDate, stop := context.WithCancel(w.ctx)
	defer stop() // Before all.Wait.
	all.Go(func() { w.keepVolumes(upToDate) })
	var main sync.WaitGroup
	sidecars, endSidecars := context.WithCancel(context.Background())
	defer func() { main.Wait(); endSidecars() }()
	for _, u := range w.units {
		switch {
		case !u.init:
			main.Go(func() { u.run(sidecars.Done()) })
		case u.sidecar():
			all.Go(func() { u.run(sidecars.Done()) })
			select {
			case <-u.up:
			case <-w.ending:
			}
		default:
			if !u.run(sidecars.Done()) {
				return
			}
		}
	}
}

// prepare makes the network and the volumes, and tries again until it can. It returns false if the pod ends first.
func (w *worker) prepare() bool {
	for {
		err := w.setUp()
		w.mu.Lock()
		w.trouble = ""
		if err != nil {
			w.trouble = err.Error()
		}
		w.mu.Unlock()
		w.touch()
		if err == nil {
			return true
		}
		select {
		case <-w.ending:
			return false
		case <-w.changed:
		case <-time.After(retry):
		}
	}
}

func (w *worker) setUp() error {
	if w.networkFile == "" {
		if err := w.setUpNetwork(); err != nil {
			return err
		}
	}
	if err := w.volumes(w.ctx); err != nil {
		return err
	}
	etc := map[string]string{
		"resolv.conf": fmt.Sprintf("nameserver %s\nsearch %s.svc.%s svc.%s %[3]s\noptions ndots:5\n", w.k.DNS, w.namespace, w.k.Domain, w.k.Domain),
		"hosts":       fmt.Sprintf("127.0.0.1 localhost\n::1 localhost\n%s %s\n", w.address, w.name),
		"hostname":    w.name + "\n",
	}
	for _, alias := range w.spec.HostAliases {
		for _, name := range alias.Hostnames {
			etc["hosts"] += alias.IP + " " + name + "\n"
		}
	}
	if err := makeDir(filepath.Join(w.dir, "etc")); err != nil {
		return err
	}
	for name, text := range etc {
		if err := os.WriteFile(filepath.Join(w.dir, "etc", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) setUpNetwork() error {
	if w.spec.HostNetwork {
		w.address, w.networkFile = w.k.Address, "/proc/self/ns/net"
		return nil
	}
	a, err := w.k.network.take()
	if err != nil {
		return err
	}
	w.address = a
	file, err := w.k.network.add(a)
	w.networkFile = file
	return err
}

// keepVolumes brings volumes up to date when something in them changes, or a token grows old.
func (w *worker) keepVolumes(ctx context.Context) {
	again := time.NewTicker(time.Minute)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
		case <-again.C:
		}
		if err := w.volumes(ctx); err != nil && ctx.Err() == nil {
			w.k.Log.Warn("the volumes of a pod stay as they were", "pod", w.namespace+"/"+w.name, "error", err)
		}
	}
}

// clear takes down what the pod had on the node.
func (w *worker) clear() {
	if w.address.IsValid() && !w.spec.HostNetwork {
		if err := w.k.network.remove(w.address); err != nil {
			w.k.Log.Error("take a pod's network down", "pod", w.namespace+"/"+w.name, "error", err)
		}
	}
	if err := os.RemoveAll(w.dir); err != nil {
		w.k.Log.Error("remove a pod's folder", "pod", w.namespace+"/"+w.name, "error", err)
	}
}

// unit returns the container of a name; of no name, the first that is not an init container.
func (w *worker) unit(name string) *unit {
	i := slices.IndexFunc(w.units, func(u *unit) bool { return name == u.spec.Name || name == "" && !u.init })
	if i < 0 {
		return nil
	}
	return w.units[i]
}

func (w *worker) user() int {
	if s := w.spec.SecurityContext; s != nil && s.RunAsUser != nil {
		return int(*s.RunAsUser)
	}
	return 0
}

func (w *worker) group() int {
	s := w.spec.SecurityContext
	switch {
	case s != nil && s.FSGroup != nil:
		return int(*s.FSGroup)
	case s != nil && s.RunAsGroup != nil:
		return int(*s.RunAsGroup)
	}
	return 0
}

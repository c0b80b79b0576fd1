// SPDX-License-Identifier: Apache-2.0

// Package kubelet is the node of a cluster: it binds pods to itself and runs each container as a process, in a network
// namespace of its pod and a root of its own, without images, container runtime and cgroups. An image is a name for
// programs of the machine.
//
// It does what workloads can tell: init containers and sidecars, probes, restarts, grace periods and hooks; volumes of
// Secrets, ConfigMaps, projected tokens, the downward API and empty folders, kept up to date; logs, exec and port
// forwarding over the kubelet's own API. What it does not do it says in the pod's status: volumes of other kinds. Limits
// of CPU and memory are not enforced.
package kubelet

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// Port is where the kubelet's API listens: logs, exec, port forwarding.
const Port = 10250

// An Image is what a container of an image's name finds and runs.
type Image struct {
	Files      map[string]string // path within the container → file or folder of the machine
	Entrypoint []string          // the command of a container that has none
	Arguments  []string          // of Entrypoint, if the container has none of its own
}

// A Config is what a Kubelet is made from.
type Config struct {
	Client    kubernetes.Interface
	Node      string           // its name
	Address   netip.Addr       // the node's, which is in this process's network
	Pods      netip.Prefix     // addresses of pods
	Dir       string           // of its own, for roots and volumes
	Logs      string           // folder that gets a file for each container's output
	Podinit   string           // program
	Images    map[string]Image // by name, without tag and digest
	APIServer netip.AddrPort   // what containers find in KUBERNETES_SERVICE_HOST and _PORT
	DNS       netip.Addr       // the nameserver of pods
	Domain    string           // of the cluster: cluster.local
	Log       *slog.Logger
}

// A Kubelet runs the pods of one node.
type Kubelet struct {
	Config
	secrets    corelisters.SecretLister
	configMaps corelisters.ConfigMapLister
	network    *network

	mu      sync.Mutex
	workers map[types.UID]*worker
	all     sync.WaitGroup
	closed  bool
}

// New returns a Kubelet that does nothing before it is Run.
func New(c Config) *Kubelet {
	return &Kubelet{Config: c, network: newNetwork(c.Address, c.Pods), workers: map[types.UID]*worker{}}
}

// Run registers the node and runs its pods until ctx ends; then it ends them all and returns.
func (k *Kubelet) Run(ctx context.Context) error {
	if err := k.register(ctx); err != nil {
		return fmt.Errorf("register node %s: %w", k.Node, err)
	}
	server, err := k.listen()
	if err != nil {
		return err
	}
	defer server.Close()
	factory := informers.NewSharedInformerFactory(k.Client, 0)
	k.secrets = factory.Core().V1().Secrets().Lister()
	k.configMaps = factory.Core().V1().ConfigMaps().Lister()
	pods := factory.Core().V1().Pods().Informer()
	// Of its errors the only one is that the informer has ended.
	_, _ = pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { k.observe(ctx, o.(*corev1.Pod)) },
		UpdateFunc: func(_, o any) { k.observe(ctx, o.(*corev1.Pod)) },
		DeleteFunc: func(o any) {
			if t, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = t.Obj
			}
			k.gone(o.(*corev1.Pod))
		},
	})
	changed := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { k.changed(o.(metav1.Object).GetNamespace()) },
		UpdateFunc: func(_, o any) { k.changed(o.(metav1.Object).GetNamespace()) },
	}
	_, _ = factory.Core().V1().Secrets().Informer().AddEventHandler(changed)
	_, _ = factory.Core().V1().ConfigMaps().Informer().AddEventHandler(changed)
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	k.close()
	return nil
}

// close ends every pod without grace, and waits.
func (k *Kubelet) close() {
	k.mu.Lock()
	k.closed = true
	for _, w := range k.workers {
		w.terminate(0)
	}
	k.mu.Unlock()
	k.all.Wait()
}

func (k *Kubelet) register(ctx context.Context) error {
	nodes := k.Client.CoreV1().Nodes()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: k.Node, Labels: map[string]string{corev1.LabelHostname: k.Node, corev1.LabelOSStable: "linux"}}}
	if _, err := nodes.Create(ctx, n, metav1.CreateOptions{}); err != nil && !errors.IsAlreadyExists(err) {
		return err
	}
	n, err := nodes.Get(ctx, k.Node, metav1.GetOptions{})
	if err != nil {
		return err
	}
	// Admission put the taint not-ready on it, which the controller of nodes would lift, that does not run here.
	n.Spec.Taints, n.Spec.PodCIDR, n.Spec.PodCIDRs = nil, k.Pods.String(), []string{k.Pods.String()}
	if n, err = nodes.Update(ctx, n, metav1.UpdateOptions{}); err != nil {
		return err
	}
	now := metav1.Now()
	room := corev1.ResourceList{"cpu": resource.MustParse("64"), "memory": resource.MustParse("64Gi"), "pods": resource.MustParse("5000")}
	n.Status = corev1.NodeStatus{
		Capacity: room, Allocatable: room,
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: k.Address.String()}, {Type: corev1.NodeHostName, Address: k.Node}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: Port}},
		Conditions:      []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: now, LastTransitionTime: now}},
	}
	_, err = nodes.UpdateStatus(ctx, n, metav1.UpdateOptions{})
	return err
}

// observe binds a pod that has no node, and gives each of this node's to its worker.
func (k *Kubelet) observe(ctx context.Context, p *corev1.Pod) {
	if p.Spec.NodeName == "" {
		if p.DeletionTimestamp == nil {
			k.bind(ctx, p)
		}
		return
	}
	if p.Spec.NodeName != k.Node {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.workers[p.UID]
	if w == nil {
		if k.closed {
			return
		}
		if p.DeletionTimestamp != nil { // It has ended already, or never began.
			k.all.Go(func() { k.forget(p) })
			return
		}
		w = newWorker(k, p)
		k.workers[p.UID] = w
		k.all.Go(func() {
			w.run()
			k.mu.Lock()
			defer k.mu.Unlock()
			delete(k.workers, p.UID)
		})
	}
	w.update(p)
}

func (k *Kubelet) bind(ctx context.Context, p *corev1.Pod) {
	b := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace, UID: p.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: k.Node},
	}
	err := k.Client.CoreV1().Pods(p.Namespace).Bind(ctx, b, metav1.CreateOptions{})
	if err != nil && !errors.IsConflict(err) && !errors.IsNotFound(err) && ctx.Err() == nil {
		k.Log.Error("bind", "pod", p.Namespace+"/"+p.Name, "error", err)
	}
}

// forget removes the object of a pod that has ended.
func (k *Kubelet) forget(p *corev1.Pod) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := k.Client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0)), Preconditions: &metav1.Preconditions{UID: &p.UID}})
	if err != nil && !errors.IsNotFound(err) && !errors.IsConflict(err) {
		k.Log.Error("delete a pod that has ended", "pod", p.Namespace+"/"+p.Name, "error", err)
	}
}

// gone ends a pod whose object is no more.
func (k *Kubelet) gone(p *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if w := k.workers[p.UID]; w != nil {
		w.terminate(0)
	}
}

// changed tells the pods of a namespace that something which they may have mounted has changed.
func (k *Kubelet) changed(namespace string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.workers {
		if w.namespace == namespace {
			w.refresh()
		}
	}
}

// find returns the worker of a pod by name.
func (k *Kubelet) find(namespace, name string) *worker {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.workers {
		if w.namespace == namespace && w.name == name {
			return w
		}
	}
	return nil
}

// makeDir makes a folder that everyone may read.
func makeDir(path string) error { return os.MkdirAll(path, 0o755) }

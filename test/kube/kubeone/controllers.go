// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/endpointslice"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/job"
	"k8s.io/kubernetes/pkg/controller/namespace"
	"k8s.io/kubernetes/pkg/controller/replicaset"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
)

// resync is how often informers hand out what has not changed; kube-controller-manager's own default.
const resync = 12 * time.Hour

// replicaBurst is how many pods a ReplicaSet makes or deletes in one step; kube-controller-manager's own.
const replicaBurst = 500

// A runner is one controller: it runs until its context ends.
type runner func(context.Context)

// plant is what all controllers are made from.
type plant struct {
	client    kubernetes.Interface
	metadata  metadata.Interface
	shared    informers.SharedInformerFactory
	partial   metadatainformer.SharedInformerFactory
	mapper    *restmapper.DeferredDiscoveryRESTMapper
	authority []byte // PEM
}

// runControllers runs the controllers that its flags' cluster needs, until SIGINT or SIGTERM. They are Kubernetes'
// own; kube-controller-manager itself would take as long to build again as the apiserver does.
func runControllers() error {
	klog.InitFlags(nil)
	kubeconfig := flag.String("kubeconfig", "", "file that names the cluster and its administrator")
	authority := flag.String("root-ca-file", "", "PEM file of the apiserver's authority, published to every namespace")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	p, err := newPlant(config, *authority)
	if err != nil {
		return err
	}
	runners, err := p.build(ctx)
	if err != nil {
		return err
	}
	p.shared.Start(ctx.Done())
	p.partial.Start(ctx.Done())
	var all sync.WaitGroup
	for _, run := range runners {
		all.Go(func() { run(ctx) })
	}
	all.Wait()
	return nil
}

func newPlant(config *rest.Config, authority string) (*plant, error) {
	config.QPS, config.Burst = 500, 1000
	pem, err := os.ReadFile(authority)
	if err != nil {
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	p := &plant{authority: pem}
	if p.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	if p.metadata, err = metadata.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("make metadata client: %w", err)
	}
	p.shared = informers.NewSharedInformerFactory(p.client, resync)
	p.partial = metadatainformer.NewSharedInformerFactory(p.metadata, resync)
	p.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(p.client.Discovery()))
	return p, nil
}

// build makes every controller; their informers start afterwards.
func (p *plant) build(ctx context.Context) ([]runner, error) {
	core, apps := p.shared.Core().V1(), p.shared.Apps().V1()
	deployments, err1 := deployment.NewDeploymentController(ctx, apps.Deployments(), apps.ReplicaSets(), core.Pods(), p.client)
	replicas := replicaset.NewReplicaSetController(ctx, apps.ReplicaSets(), core.Pods(), p.client, replicaBurst)
	jobs, err2 := job.NewController(ctx, p.client, core.Pods(), p.shared.Batch().V1().Jobs(), nil, nil)
	slices := endpointslice.NewController(ctx, core.Pods(), core.Services(), core.Nodes(), p.shared.Discovery().V1().EndpointSlices(), 100, p.client, 0)
	namespaces := namespace.NewNamespaceController(ctx, p.client, p.metadata, p.client.Discovery().ServerPreferredNamespacedResources, core.Namespaces(), time.Minute, corev1.FinalizerKubernetes)
	accounts, err3 := serviceaccount.NewServiceAccountsController(klog.FromContext(ctx), core.ServiceAccounts(), core.Namespaces(), p.client, serviceaccount.DefaultServiceAccountsControllerOptions())
	publisher, err4 := rootcacertpublisher.NewPublisher(core.ConfigMaps(), core.Namespaces(), p.client, p.authority)
	started := make(chan struct{})
	close(started) // The collector waits for the informers' start; its own are started by its Sync.
	collector, err5 := garbagecollector.NewGarbageCollector(ctx, p.client, p.metadata, p.mapper, map[schema.GroupResource]struct{}{}, informerfactory.NewInformerFactory(p.shared, p.partial), started)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return nil, fmt.Errorf("make controllers: %w", err)
	}
	return []runner{
		func(ctx context.Context) { deployments.Run(ctx, 5) },
		func(ctx context.Context) { replicas.Run(ctx, 5) },
		func(ctx context.Context) { jobs.Run(ctx, 2) },
		func(ctx context.Context) { slices.Run(ctx, 5) },
		func(ctx context.Context) { namespaces.Run(ctx, 5) },
		func(ctx context.Context) { accounts.Run(ctx, 1) },
		func(ctx context.Context) { publisher.Run(ctx, 1) },
		func(ctx context.Context) { collector.Run(ctx, 5, 5*time.Second) },
		func(ctx context.Context) { collector.Sync(ctx, p.client.Discovery(), 5*time.Second) },
		// A CustomResourceDefinition that comes later is found when the mapper asks again.
		func(ctx context.Context) {
			wait.UntilWithContext(ctx, func(context.Context) { p.mapper.Reset() }, 10*time.Second)
		},
	}, nil
}

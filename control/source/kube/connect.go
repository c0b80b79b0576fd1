// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"weir.dev/weir/control/source"
)

// A Cluster is a connection to an apiserver.
type Cluster struct {
	client   dynamic.Interface
	metadata metadata.Interface
	host     string
	listing  listing
	types    map[source.Kind]source.Type
	beside   []source.Change

	mu sync.RWMutex
	// served has the resource of each kind that the cluster has, and former that of an
	// earlier name of the kind.
	served, former map[source.Kind]schema.GroupVersionResource
}

// Beside has c read what objects need that are not in the cluster, and translated with it.
func (c *Cluster) Beside(objects []source.Change) { c.beside = objects }

// needs returns the lazy kinds that an object needs.
func (c *Cluster) needs(kind source.Kind, o source.Object) []source.Kind {
	if needs := c.types[kind].Needs; needs != nil {
		return needs(o)
	}
	return nil
}

// Requests that may be sent to the apiserver in a second, and at once.
const (
	requestsPerSecond = 200
	requestsAtOnce    = 400
	answerWithin      = 15 * time.Second
)

// Connect connects to the cluster of a kubeconfig file, or of a Pod's own service
// account if path is empty and there is one. Each error is one sentence that says
// what to do.
func Connect(ctx context.Context, path, kubeContext string) (*Cluster, error) {
	cfg, err := config(path, kubeContext)
	if err != nil {
		return nil, err
	}
	return ConnectTo(ctx, cfg)
}

func config(path, kubeContext string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if path != "" {
		rules.ExplicitPath = path
	}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: kubeContext})
	cfg, err := loader.ClientConfig()
	if err == nil {
		return cfg, nil
	}
	if path == "" && clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("there is no cluster to read: give --kubeconfig, or run in a Pod with a service account")
	}
	return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
}

// ConnectTo connects to the cluster that cfg names.
func ConnectTo(ctx context.Context, cfg *rest.Config) (*Cluster, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS, cfg.Burst = requestsPerSecond, requestsAtOnce
	cfg.UserAgent = "weir"
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cluster at %s: %w", cfg.Host, err)
	}
	meta, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cluster at %s: %w", cfg.Host, err)
	}
	list, err := lister(cfg)
	if err != nil {
		return nil, fmt.Errorf("cluster at %s: %w", cfg.Host, err)
	}
	c := &Cluster{client: client, metadata: meta, host: cfg.Host, listing: list, types: map[source.Kind]source.Type{}}
	for _, t := range source.Types() {
		c.types[t.Kind] = t
	}
	if _, err := c.discover(ctx); err != nil {
		return nil, err
	}
	for _, t := range source.Types() {
		if _, ok := c.resourceOf(t.Kind); !ok && !t.Optional {
			return nil, fmt.Errorf("the cluster at %s has no kind %s: install the Gateway API's CRDs, "+
				"https://github.com/kubernetes-sigs/gateway-api/releases, version 1.6 or newer", c.host, t.Kind)
		}
	}
	return c, ctx.Err()
}

// formerOf returns the resource of an earlier name of a kind, if the cluster has it.
func (c *Cluster) formerOf(kind source.Kind) (schema.GroupVersionResource, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	gvr, ok := c.former[kind]
	return gvr, ok
}

// resourceOf returns the resource of a kind, if the cluster has it.
func (c *Cluster) resourceOf(kind source.Kind) (schema.GroupVersionResource, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	gvr, ok := c.served[kind]
	return gvr, ok
}

// A listing returns the names of the resources of a version of a group; none, if the
// cluster has no such version.
type listing func(ctx context.Context, gv schema.GroupVersion) ([]string, error)

// lister asks the apiserver itself: client-go's package for it brings the types of all
// of Kubernetes' objects, which would make the binary half as large again.
func lister(cfg *rest.Config) (listing, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = answerWithin
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.UnversionedRESTClientFor(cfg)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, gv schema.GroupVersion) ([]string, error) {
		path := "/apis/" + gv.String()
		if gv.Group == "" {
			path = "/api/" + gv.Version
		}
		list := &metav1.APIResourceList{}
		err := client.Get().AbsPath(path).Do(ctx).Into(list)
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
		out := make([]string, len(list.APIResources))
		for i, r := range list.APIResources {
			out[i] = r.Name
		}
		return out, nil
	}, nil
}

// discover finds which of the kinds the cluster has, and in which version. It returns those
// that were not known.
func (c *Cluster) discover(ctx context.Context) (found []source.Kind, err error) {
	known := map[string][]string{} // resources by group and version
	find := func(group string, versions []string, resource string) (gvr schema.GroupVersionResource, ok bool, err error) {
		for _, version := range versions {
			gv := schema.GroupVersion{Group: group, Version: version}
			resources, ok := known[gv.String()]
			if !ok {
				if resources, err = c.listing(ctx, gv); err != nil {
					return gvr, false, c.explain(err)
				}
				known[gv.String()] = resources
			}
			if slices.Contains(resources, resource) {
				return gv.WithResource(resource), true, nil
			}
		}
		return gvr, false, nil
	}
	served, former := map[source.Kind]schema.GroupVersionResource{}, map[source.Kind]schema.GroupVersionResource{}
	maps.Copy(served, c.served)
	maps.Copy(former, c.former)
	for _, t := range source.Types() {
		if t.Files {
			continue
		}
		if _, ok := served[t.Kind]; !ok {
			gvr, ok, err := find(t.Group, t.Versions, t.Resource)
			if err != nil {
				return nil, err
			}
			if ok {
				served[t.Kind], found = gvr, append(found, t.Kind)
			}
		}
		for _, f := range t.Former {
			gvr, ok, err := find(f.Group, f.Versions, cmp.Or(f.Resource, t.Resource))
			if err != nil {
				return nil, err
			}
			if _, had := former[t.Kind]; ok && !had {
				former[t.Kind], found = gvr, append(found, t.Kind)
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.served, c.former = served, former
	return found, nil
}

// absent returns the kinds that the cluster lacks, in the order of source.Types.
func (c *Cluster) absent() []string {
	var out []string
	for _, t := range source.Types() {
		if _, ok := c.resourceOf(t.Kind); !ok && !t.Files {
			out = append(out, t.Kind.String())
		}
	}
	return out
}

// explain says what an error of the connection means.
func (c *Cluster) explain(err error) error {
	var dial *url.Error
	switch {
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the cluster at %s does not know who asks: the credentials of the kubeconfig are wrong or too old", c.host)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("the cluster at %s forbids it: give the account the rights of deploy/rbac.yaml: %w", c.host, err)
	case errors.As(err, &dial):
		return fmt.Errorf("the cluster at %s does not answer: %w", c.host, dial.Err)
	}
	return fmt.Errorf("the cluster at %s: %w", c.host, err)
}

// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"encoding/json"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// balance gives Services of type LoadBalancer addresses of the Pool, as a cloud does; kube-proxy answers at them. A
// Service that asks in loadBalancerIP for an address that is not in the Pool, or that another has, gets none.
func (c *Cluster) balance(ctx context.Context) {
	p := &pool{next: Pool.Addr(), given: map[netip.Addr]types.UID{}}
	factory := informers.NewSharedInformerFactory(c.Client, 0)
	// Of its errors the only one is that the informer has ended.
	_, _ = factory.Core().V1().Services().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { c.assign(ctx, p, o.(*corev1.Service)) },
		UpdateFunc: func(_, o any) { c.assign(ctx, p, o.(*corev1.Service)) },
		DeleteFunc: func(o any) {
			if t, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = t.Obj
			}
			p.free(o.(*corev1.Service).UID)
		},
	})
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
}

// pool knows who has which address. The informer calls it one event at a time.
type pool struct {
	next  netip.Addr
	given map[netip.Addr]types.UID
}

func (p *pool) free(who types.UID) {
	for a, owner := range p.given {
		if owner == who {
			delete(p.given, a)
		}
	}
}

// get returns the address for a Service; false if there is none.
func (p *pool) get(s *corev1.Service) (netip.Addr, bool) {
	wanted := netip.Addr{}
	if s.Spec.LoadBalancerIP != "" {
		wanted, _ = netip.ParseAddr(s.Spec.LoadBalancerIP) // One that is none is in no pool.
		if owner, ok := p.given[wanted]; !Pool.Contains(wanted) || ok && owner != s.UID {
			p.free(s.UID)
			return netip.Addr{}, false
		}
	}
	for a, owner := range p.given {
		if owner == s.UID && (!wanted.IsValid() || a == wanted) {
			return a, true
		}
	}
	p.free(s.UID)
	for !wanted.IsValid() {
		p.next = p.next.Next()
		if p.next.As4()[2] >= 128 {
			p.next = Pool.Addr().Next()
		}
		if _, taken := p.given[p.next]; !taken {
			wanted = p.next
		}
	}
	p.given[wanted] = s.UID
	return wanted, true
}

func (c *Cluster) assign(ctx context.Context, p *pool, s *corev1.Service) {
	var ingress []corev1.LoadBalancerIngress
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer || s.Spec.LoadBalancerClass != nil {
		p.free(s.UID)
	} else if a, ok := p.get(s); ok {
		ingress = []corev1.LoadBalancerIngress{{IP: a.String(), IPMode: new(corev1.LoadBalancerIPModeVIP)}}
	}
	have := s.Status.LoadBalancer.Ingress
	if len(have) == len(ingress) && (len(have) == 0 || have[0].IP == ingress[0].IP) {
		return
	}
	// Marshalling plain structs cannot fail.
	text, _ := json.Marshal(map[string]any{"metadata": map[string]any{"uid": s.UID}, "status": map[string]any{"loadBalancer": map[string]any{"ingress": ingress}}})
	_, err := c.Client.CoreV1().Services(s.Namespace).Patch(ctx, s.Name, types.MergePatchType, text, metav1.PatchOptions{}, "status")
	if err != nil && !errors.IsNotFound(err) && !errors.IsConflict(err) && ctx.Err() == nil {
		c.Log.Error("give a Service its address", "service", s.Namespace+"/"+s.Name, "error", err)
	}
}

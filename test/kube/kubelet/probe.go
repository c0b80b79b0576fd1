// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// attend probes a container that runs until ctx ends. Without probes it has started, and is ready, at once. To sick goes
// the reason for which it must be ended.
func (u *unit) attend(ctx context.Context, sick chan<- string) {
	if l := u.spec.Lifecycle; l != nil && l.PostStart != nil {
		if err := u.hook(ctx, l.PostStart); err != nil {
			if ctx.Err() == nil {
				sick <- "postStart: " + err.Error()
			}
			return
		}
	}
	if p := u.spec.StartupProbe; p != nil {
		passed := false
		u.repeat(ctx, p, func(ok bool, reason error) bool {
			if passed = ok; !ok {
				sick <- "startupProbe: " + reason.Error()
			}
			return false
		})
		if !passed {
			return
		}
	}
	u.set(func() { u.isUp, u.ready = true, u.spec.ReadinessProbe == nil })
	select {
	case <-u.up:
	default:
		close(u.up)
	}
	var both sync.WaitGroup
	defer both.Wait()
	if p := u.spec.ReadinessProbe; p != nil {
		both.Go(func() {
			u.repeat(ctx, p, func(ok bool, _ error) bool {
				u.set(func() { u.ready = ok && u.pid != 0 })
				return true
			})
		})
	}
	if p := u.spec.LivenessProbe; p != nil {
		both.Go(func() {
			u.repeat(ctx, p, func(ok bool, reason error) bool {
				if !ok {
					sick <- "livenessProbe: " + reason.Error()
				}
				return ok
			})
		})
	}
}

// repeat probes until ctx ends or told returns false. It calls told whenever as many probes in a row as the thresholds
// ask for have passed or failed.
func (u *unit) repeat(ctx context.Context, p *corev1.Probe, told func(ok bool, reason error) bool) {
	if !pause(ctx, time.Duration(p.InitialDelaySeconds)*time.Second) {
		return
	}
	period := time.Duration(max(1, p.PeriodSeconds)) * time.Second
	passed, failed := int32(0), int32(0)
	for {
		err := u.probe(ctx, &p.ProbeHandler, time.Duration(max(1, p.TimeoutSeconds))*time.Second)
		if ctx.Err() != nil {
			return
		}
		next := period
		if err == nil {
			passed, failed = passed+1, 0
		} else {
			passed, failed = 0, failed+1
			next = min(period, 100*time.Millisecond<<min(failed, 6)) // What has just started is looked at more often.
		}
		if passed >= max(1, p.SuccessThreshold) && !told(true, nil) || failed >= max(1, p.FailureThreshold) && !told(false, err) {
			return
		}
		if !pause(ctx, next) {
			return
		}
	}
}

// pause waits, and tells whether ctx is still there.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// probe looks once.
func (u *unit) probe(ctx context.Context, h *corev1.ProbeHandler, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case h.HTTPGet != nil:
		return u.get(ctx, h.HTTPGet)
	case h.TCPSocket != nil:
		a, err := u.at(h.TCPSocket.Host, h.TCPSocket.Port)
		if err != nil {
			return err
		}
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", a)
		if err != nil {
			return err
		}
		return c.Close()
	case h.Exec != nil:
		var out strings.Builder
		if err := u.execute(ctx, h.Exec.Command, nil, &out, &out); err != nil {
			return fmt.Errorf("%w: %s", err, out.String())
		}
		return nil
	case h.GRPC != nil:
		return u.ask(ctx, h.GRPC)
	}
	return errors.New("a probe needs httpGet, tcpSocket, exec or grpc")
}

// hook does what a lifecycle asks for.
func (u *unit) hook(ctx context.Context, h *corev1.LifecycleHandler) error {
	if h.Sleep != nil {
		pause(ctx, time.Duration(h.Sleep.Seconds)*time.Second)
		return nil
	}
	return u.probe(ctx, &corev1.ProbeHandler{HTTPGet: h.HTTPGet, TCPSocket: h.TCPSocket, Exec: h.Exec}, time.Hour)
}

func (u *unit) at(host string, port intstr.IntOrString) (string, error) {
	if host == "" {
		host = u.w.address.String()
	}
	if port.Type == intstr.Int {
		return net.JoinHostPort(host, strconv.Itoa(port.IntValue())), nil
	}
	for _, p := range u.spec.Ports {
		if p.Name == port.StrVal {
			return net.JoinHostPort(host, strconv.Itoa(int(p.ContainerPort))), nil
		}
	}
	return "", fmt.Errorf("the container has no port %q", port.StrVal)
}

func (u *unit) get(ctx context.Context, h *corev1.HTTPGetAction) error {
	a, err := u.at(h.Host, h.Port)
	if err != nil {
		return err
	}
	scheme := strings.ToLower(string(h.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+a+"/"+strings.TrimPrefix(h.Path, "/"), nil)
	if err != nil {
		return err
	}
	for _, header := range h.HTTPHeaders {
		if strings.EqualFold(header.Name, "host") {
			r.Host = header.Value
		}
		r.Header.Add(header.Name, header.Value)
	}
	// A connection for each: who is probed must be seen to accept. Of certificates the kubelet asks nothing.
	t := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	answer, err := t.RoundTrip(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)); err != nil {
		return err
	}
	if answer.StatusCode < 200 || answer.StatusCode >= 400 {
		return fmt.Errorf("GET %s: status %d", r.URL, answer.StatusCode)
	}
	return nil
}

func (u *unit) ask(ctx context.Context, h *corev1.GRPCAction) error {
	c, err := grpc.NewClient(net.JoinHostPort(u.w.address.String(), strconv.Itoa(int(h.Port))), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer c.Close()
	request := &health.HealthCheckRequest{}
	if h.Service != nil {
		request.Service = *h.Service
	}
	answer, err := health.NewHealthClient(c).Check(ctx, request)
	if err != nil {
		return err
	}
	if answer.Status != health.HealthCheckResponse_SERVING {
		return fmt.Errorf("gRPC health is %s", answer.Status)
	}
	return nil
}

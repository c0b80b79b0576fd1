// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// report writes the pod's status whenever it changes, until ctx ends; then once more.
func (w *worker) report(ctx context.Context) {
	var written corev1.PodStatus
	last := false
	for !last {
		select {
		case <-w.dirty:
		case <-ctx.Done():
			last = true
		}
		status := w.status()
		keepTimes(status.Conditions, written.Conditions)
		if equality.Semantic.DeepEqual(status, written) {
			continue
		}
		err := w.write(status)
		switch {
		case err == nil:
			written = status
		case errors.IsNotFound(err), errors.IsConflict(err): // The pod is gone.
		case !last:
			w.k.Log.Warn("write a pod's status", "pod", w.namespace+"/"+w.name, "error", err)
			if pause(ctx, retry) {
				w.touch()
			}
		}
	}
}

func (w *worker) write(status corev1.PodStatus) error {
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": w.uid}, "status": status})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = w.k.Client.CoreV1().Pods(w.namespace).Patch(ctx, w.name, types.MergePatchType, text, metav1.PatchOptions{}, "status")
	return err
}

// status is what the pod's status says now.
func (w *worker) status() corev1.PodStatus {
	p := w.current()
	started := metav1.NewTime(w.started.Truncate(time.Second))
	s := corev1.PodStatus{Phase: corev1.PodPending, StartTime: &started, HostIP: w.k.Address.String(), HostIPs: []corev1.HostIP{{IP: w.k.Address.String()}}}
	if w.address.IsValid() {
		s.PodIP, s.PodIPs = w.address.String(), []corev1.PodIP{{IP: w.address.String()}}
	}
	initialized, ready := true, true
	begun, over, bad := false, 0, false
	for _, u := range w.units {
		status, ended := u.status()
		if u.init {
			s.InitContainerStatuses = append(s.InitContainerStatuses, status)
			initialized = initialized && (u.sidecar() && *status.Started || ended && status.State.Terminated.ExitCode == 0)
			bad = bad || ended && status.State.Terminated.ExitCode != 0
			continue
		}
		s.ContainerStatuses = append(s.ContainerStatuses, status)
		ready = ready && status.Ready
		begun = begun || status.State.Waiting == nil || status.RestartCount > 0 || status.LastTerminationState.Terminated != nil
		if ended {
			over++
			bad = bad || status.State.Terminated.ExitCode != 0
		}
	}
	switch {
	case over == len(w.spec.Containers) && bad, !initialized && bad:
		s.Phase = corev1.PodFailed
	case over == len(w.spec.Containers):
		s.Phase = corev1.PodSucceeded
	case begun:
		s.Phase = corev1.PodRunning
	}
	w.mu.Lock()
	s.Message = w.trouble
	w.mu.Unlock()
	s.Conditions = w.conditions(p, initialized, ready)
	return s
}

// conditions are those of the kubelet, and those that others have put on the pod.
func (w *worker) conditions(p *corev1.Pod, initialized, ready bool) []corev1.PodCondition {
	var out []corev1.PodCondition
	add := func(t corev1.PodConditionType, is bool, reason, message string) {
		c := corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Now().Truncate(time.Second))}
		if !is {
			c.Status, c.Reason, c.Message = corev1.ConditionFalse, reason, message
		}
		out = append(out, c)
	}
	w.mu.Lock()
	trouble := w.trouble
	w.mu.Unlock()
	add(corev1.PodScheduled, true, "", "")
	add(corev1.PodReadyToStartContainers, trouble == "" && w.address.IsValid(), "", trouble)
	add(corev1.PodInitialized, initialized, "ContainersNotInitialized", "")
	add(corev1.ContainersReady, ready, "ContainersNotReady", "")
	gate := func(t corev1.PodConditionType) bool {
		return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == t && c.Status == corev1.ConditionTrue })
	}
	message := ""
	for _, g := range p.Spec.ReadinessGates {
		if !gate(g.ConditionType) {
			ready, message = false, fmt.Sprintf("the readiness gate %s is not true", g.ConditionType)
		}
	}
	add(corev1.PodReady, ready, "ContainersNotReady", message)
	own := func(t corev1.PodConditionType) bool {
		return slices.ContainsFunc(out, func(c corev1.PodCondition) bool { return c.Type == t })
	}
	for _, c := range p.Status.Conditions {
		if !own(c.Type) {
			out = append(out, c)
		}
	}
	return out
}

// keepTimes leaves the time of a condition as it was while its status is the same.
func keepTimes(now, before []corev1.PodCondition) {
	for i := range now {
		for _, b := range before {
			if b.Type == now[i].Type && b.Status == now[i].Status {
				now[i].LastTransitionTime = b.LastTransitionTime
			}
		}
	}
}

// status is that of one container; ended tells that it will not start again.
func (u *unit) status() (s corev1.ContainerStatus, ended bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	up := u.isUp
	s = corev1.ContainerStatus{
		Name: u.spec.Name, Image: u.spec.Image, ImageID: u.spec.Image, State: u.state, LastTerminationState: u.last,
		RestartCount: max(0, u.starts-1), Started: &up, Ready: u.ready,
	}
	if u.pid != 0 {
		s.ContainerID = fmt.Sprintf("process://%d", u.pid)
	}
	if t := u.state.Terminated; t != nil {
		s.Ready = u.init && t.ExitCode == 0
		return s, !u.again(int(t.ExitCode)) || u.w.isEnding()
	}
	return s, false
}

// isEnding tells whether the pod is to end.
func (w *worker) isEnding() bool {
	select {
	case <-w.ending:
		return true
	default:
		return false
	}
}

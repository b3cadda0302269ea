package devctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Controlled is what orders are carried out on.
type Controlled interface {
	Kill(id string) error
	Start(id string) error
	// Pids is every member's pid, as State.Members has it.
	Pids() map[string]int
}

// The orders.
const (
	Kill  = "kill"
	Start = "start"
)

const (
	orderTimeout = 10 * time.Second
	answerBytes  = 64 << 10
)

// Server takes orders for one cluster. Its state is published from New to the end of Run.
type Server struct {
	dir      string
	state    State
	cluster  Controlled
	listener net.Listener
}

// New publishes the cluster. state needs everything but Members and Socket.
func New(state State, c Controlled) (*Server, error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	state.Socket = filepath.Join(dir, filePrefix+strconv.Itoa(state.Pid)+".sock")
	if err := removeIfThere(state.Socket); err != nil { // of a dead process that had the same pid
		return nil, err
	}
	// The directory is the owner's alone, so nobody else reaches the socket.
	l, err := net.Listen("unix", state.Socket)
	if err != nil {
		return nil, fmt.Errorf("socket for kring dev: %w", err)
	}
	s := &Server{dir: dir, state: state, cluster: c, listener: l}
	if err := s.publish(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return s, nil
}

func (s *Server) publish() error {
	s.state.Members = s.cluster.Pids()
	return s.state.save(s.dir)
}

// Run takes orders, one after the other, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	orders := make(chan struct{}, 1) // held by the order that is carried out
	mux := http.NewServeMux()
	mux.HandleFunc("POST /members/{id}/{order}", func(w http.ResponseWriter, r *http.Request) {
		select {
		case orders <- struct{}{}:
		case <-r.Context().Done():
			return
		}
		defer func() { <-orders }()
		s.answer(w, s.carryOut(r.PathValue("order"), r.PathValue("id")))
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: orderTimeout}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(s.listener) }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = errors.Join(server.Close(), <-ended)
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, removeIfThere(s.state.Socket), removeIfThere(stateFile(s.dir, s.state.Pid)))
}

func (s *Server) carryOut(order, id string) error {
	var err error
	switch order {
	case Kill:
		err = s.cluster.Kill(id)
	case Start:
		err = s.cluster.Start(id)
	default:
		return fmt.Errorf("there is no order %q", order)
	}
	return errors.Join(err, s.publish())
}

type answer struct {
	Error string `json:"error,omitempty"`
}

func (s *Server) answer(w http.ResponseWriter, err error) {
	var a answer
	if err != nil {
		a.Error = err.Error()
		w.WriteHeader(http.StatusConflict)
	}
	// Whoever asked may be gone; there is nobody to tell.
	_ = json.NewEncoder(w).Encode(a)
}

// Order has the running cluster carry out an order on a member.
func Order(ctx context.Context, state State, order, id string) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", state.Socket)
	}}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	target := "http://kring/members/" + url.PathEscape(id) + "/" + order
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(""))
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return fmt.Errorf("the cluster in %s does not answer: %w", state.Data, err)
	}
	defer response.Body.Close()
	var a answer
	if err := json.NewDecoder(io.LimitReader(response.Body, answerBytes)).Decode(&a); err != nil {
		return fmt.Errorf("the cluster in %s answered %s: %w", state.Data, response.Status, err)
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	return nil
}

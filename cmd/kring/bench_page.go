package main

import (
	"fmt"
	"os"

	"github.com/kringdb/kring/bench/tables"
	"github.com/kringdb/kring/cmd/internal/exit"
)

// benchPage is the place in a page, named by --markdown, that takes a command's tables; without a path there is none.
type benchPage struct {
	path  string
	place tables.Place
}

// usage is the flag's.
func (p benchPage) usage() string {
	return "also write the tables into this page, between its lines " + p.place.Begin() + " and " + p.place.End()
}

// check says before anything is measured whether update could write.
func (p benchPage) check() error {
	if p.path == "" {
		return nil
	}
	page, err := os.ReadFile(p.path)
	if err == nil {
		_, err = p.place.Update(string(page), "")
	}
	if err != nil {
		return exit.Usagef("--markdown %s: %w", p.path, err)
	}
	return nil
}

// update writes text into the place.
func (p benchPage) update(text string) error {
	if p.path == "" {
		return nil
	}
	page, err := os.ReadFile(p.path)
	if err != nil {
		return err
	}
	updated, err := p.place.Update(string(page), text)
	if err != nil {
		return fmt.Errorf("%s: %w", p.path, err)
	}
	return os.WriteFile(p.path, []byte(updated), 0o600) // an existing file keeps its mode
}

// checkWritable says before anything is measured whether the file that a flag names could be written. It leaves what is in it.
func checkWritable(flag, path string) error {
	if path == "" {
		return nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, pageMode)
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		return exit.Usagef("the file for --%s: %w", flag, err)
	}
	return nil
}

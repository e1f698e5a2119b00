"""The vocabulary and the one idea: `decide(statement, principal, snapshot, facts) -> decision`.

Nothing here does I/O, reads a clock or keeps state; everything else in the gateway depends on this
package and it depends on nothing of the gateway.
"""

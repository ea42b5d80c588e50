/*
 * command.h - the commands: one function and one file each.
 *
 * Each gets its own name as argv[0] and returns the process's exit status
 * (cli/locate.h has the codes).  stdout is data, stderr is talk.
 */
#pragma once

int command_serve(int argc, char **argv);
int command_check(int argc, char **argv);
int command_ledger(int argc, char **argv);
int command_key(int argc, char **argv);
int command_user(int argc, char **argv);
int command_report(int argc, char **argv);
int command_tail(int argc, char **argv);
int command_export(int argc, char **argv);
int command_price(int argc, char **argv);
int command_fleet(int argc, char **argv);
int command_redis(int argc, char **argv);
